# motiontrace in a container: --target cpu (the default) or --target gpu.
#
# Both start from the same small Python: torch's and FAISS' wheels bring their own CUDA libraries, so that a CUDA base
# image would only carry them twice. The machine needs NVIDIA's driver and container toolkit for gpu, nothing for cpu.
#
# A change of the code alone rebuilds the last, small layer: the environment below it holds dependencies only.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_CONSTRAINT=/build/constraints.txt
WORKDIR /build
RUN python -m venv --without-pip /opt/venv
COPY constraints.txt pyproject.toml docker/requirements.py ./

FROM builder AS environment-cpu
# Where torch comes from; its CPU build is a small part of the one with CUDA.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv install --retries 1 --no-deps --extra-index-url "${TORCH_INDEX_URL}" torch
RUN --mount=type=cache,target=/root/.cache/pip \
    python requirements.py cpu postgres > requirements.txt \
 && pip --python /opt/venv install --requirement requirements.txt \
 && if pip --python /opt/venv list --format=freeze | grep -iE '^(nvidia|cuda|triton)'; then \
      echo "torch with CUDA was installed: see that ${TORCH_INDEX_URL} can be reached, and has torch's CPU build." >&2; \
      exit 1; \
    fi

FROM builder AS environment-gpu
# Empty: the package index's own build, which has CUDA.
ARG TORCH_INDEX_URL=
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/venv install --retries 1 --no-deps ${TORCH_INDEX_URL:+--extra-index-url "${TORCH_INDEX_URL}"} torch
RUN --mount=type=cache,target=/root/.cache/pip \
    python requirements.py gpu postgres > requirements.txt \
 && pip --python /opt/venv install --requirement requirements.txt

FROM builder AS wheel
# motiontrace/ links to the rooms beside it: all that .dockerignore lets through.
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheel .

FROM ${PYTHON_IMAGE} AS runtime
LABEL org.opencontainers.image.title="motiontrace" \
      org.opencontainers.image.description="Which training clips taught a text-to-video model its motion" \
      org.opencontainers.image.licenses="Apache-2.0"
# Volumes that are mounted here for the first time take over who owns these. 65534 is who Prometheus runs as.
RUN groupadd --gid 10001 motiontrace \
 && useradd --uid 10001 --gid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin motiontrace \
 && install --directory --owner=10001 --group=10001 --mode=0700 /data /keys \
 && install --directory --owner=10001 --group=10001 --mode=0755 /demo \
 && install --directory --owner=65534 --group=65534 --mode=0700 /prometheus-key
# Threads that wait sleep: those of several containers on the same processors would else spin in one another's way, and
# a gradient take twenty times as long.
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE \
    MOTIONTRACE_HOME=/data MOTIONTRACE_HOST=0.0.0.0 HF_HOME=/data/huggingface
WORKDIR /tmp
EXPOSE 8600
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8600/healthz', timeout=3)"]
ENTRYPOINT ["motiontrace"]
CMD ["serve"]

FROM runtime AS gpu
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=environment-gpu /opt/venv /opt/venv
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/venv install --no-cache-dir --no-deps /wheel/*.whl
USER 10001:10001

FROM runtime AS cpu
COPY --from=environment-cpu /opt/venv /opt/venv
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    pip --python /opt/venv install --no-cache-dir --no-deps /wheel/*.whl
USER 10001:10001
