# CPU image of motiontrace: the service, the indexer and the demo.
FROM python:3.11-slim

# Where torch comes from. The default is its CPU build; empty takes the package index's own (on Linux: CUDA).
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu

WORKDIR /app
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX_URL:+--extra-index-url $TORCH_INDEX_URL} torch
COPY pyproject.toml README.md LICENSE ./
COPY motiontrace motiontrace
COPY attribution attribution
COPY catalog catalog
COPY indexer indexer
COPY service service
COPY demo demo
COPY migrations migrations
RUN pip install --no-cache-dir --constraint constraints.txt '.[cpu,postgres]' \
 && useradd --create-home motiontrace && install -d -o motiontrace /data
USER motiontrace
WORKDIR /data
ENV MOTIONTRACE_HOME=/data MOTIONTRACE_HOST=0.0.0.0
EXPOSE 8600
VOLUME /data
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8600/healthz', timeout=3)"]
ENTRYPOINT ["motiontrace"]
CMD ["serve"]
