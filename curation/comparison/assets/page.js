"use strict";
// One clock for all videos, so that pairs stay in step whatever the browser does with each of them.
const seconds = Number(document.body.dataset.seconds); // of a video
const lastFrame = Number(document.body.dataset.last); // when its last frame begins: where the drawings end
const play = document.getElementById("play");
const place = document.getElementById("place");
const speed = document.getElementById("speed");
const heat = document.getElementById("heat");
const marks = [...document.querySelectorAll("svg .now")];
const visible = new Set(); // a video that is hidden, or scrolled away, does not play
const SLACK = 0.12; // seconds that a video may be off before it is set right

let running = !matchMedia("(prefers-reduced-motion: reduce)").matches;
let time = 0;
let last = performance.now();

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) visible.add(target);
    else { visible.delete(target); target.pause(); }
    target.currentTime = Math.min(time, target.duration || time);
  }
});
for (const video of document.querySelectorAll("video")) observer.observe(video);

function follow(video, exactly) {
  if (!video.duration) return;
  const wanted = Math.min(time, video.duration - 0.001);
  video.playbackRate = Number(speed.value);
  if (exactly || Math.abs(video.currentTime - wanted) > SLACK) video.currentTime = wanted;
  if (running && video.paused && !video.ended) video.play().catch(() => {});
  if (!running && !video.paused) video.pause();
}

function show(exactly) {
  for (const video of visible) follow(video, exactly);
  place.value = String(time / seconds);
  const share = Math.min(1, time / lastFrame);
  for (const mark of marks) {
    const x = Number(mark.dataset.left) + (Number(mark.dataset.right) - Number(mark.dataset.left)) * share;
    mark.setAttribute("x1", x);
    mark.setAttribute("x2", x);
  }
}

function tick(moment) {
  if (running) {
    time += ((moment - last) / 1000) * Number(speed.value);
    const again = time >= seconds;
    if (again) time = 0;
    show(again);
  }
  last = moment;
  requestAnimationFrame(tick);
}

function toggle() {
  running = !running;
  play.textContent = running ? "Pause" : "Play";
  show(true);
}

play.addEventListener("click", toggle);
place.addEventListener("input", () => { running = false; play.textContent = "Play"; time = place.value * seconds; show(true); });
heat.addEventListener("change", () => document.body.classList.toggle("show-heat", heat.checked));
addEventListener("keydown", (event) => {
  if (event.key === " " && !["BUTTON", "INPUT", "SELECT", "SUMMARY"].includes(event.target.tagName)) {
    event.preventDefault();
    toggle();
  }
});
play.textContent = running ? "Pause" : "Play";
requestAnimationFrame(tick);
