"""All of them: python -m benchmarks."""

from benchmarks import clip, projection

projection.main()
clip.main()
