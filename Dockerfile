# The command collapse-study, with all that it trains and measures with.
#
#   docker build --build-arg TORCH=cuda --tag collapse-study:cuda .
#   docker build --build-arg TORCH=cpu --build-arg PIP_EXTRA_INDEX_URL=INDEX --tag collapse-study:cpu .
#   docker run --rm --gpus all --shm-size 8g --user "$(id -u)" --volume "$PWD:/here" --workdir /here \
#       collapse-study:cuda launch GRID.yaml
#
# INDEX is a package index with CPU builds of torch and torchvision.
FROM python:3.11-slim-bookworm AS build
ARG TORCH=cuda
ARG PIP_EXTRA_INDEX_URL
ENV PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
WORKDIR /source
COPY pyproject.toml README.md LICENSE install.sh ./
COPY study study
COPY analysis analysis
COPY docs docs
COPY examples examples
COPY search_spaces search_spaces
RUN ./install.sh /opt/venv/bin/python ".[train,large,cluster]"

FROM python:3.11-slim-bookworm
# KubeRay asks by wget whether a node is well; every version that the distribution has will do.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 study
COPY --from=build /opt/venv /opt/venv
# The NVIDIA container toolkit lends the GPUs and libraries that these name.
ENV PATH=/opt/venv/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /home/study
ENTRYPOINT ["collapse-study"]
CMD ["--help"]
