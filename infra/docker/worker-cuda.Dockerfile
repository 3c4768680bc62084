# A GPU worker for NVIDIA: CUDA 12 and cuDNN 9, and the runtime's CUDA library.
#   docker build -f infra/docker/worker-cuda.Dockerfile -t vqd-worker:cuda .
#   docker run --gpus all ... vqd-worker:cuda
FROM node:24-bookworm-slim@sha256:d6aa754f16b3197301076f047b5def2f02ea1dbbc2ca920407d46d7ec7f87b20 AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY shared/package.json shared/
COPY edge/package.json edge/
COPY gpu-worker/package.json gpu-worker/
COPY infra/openapi/package.json infra/openapi/
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund --workspace=@vqd/gpu-worker --workspace=@vqd/shared \
 && npm cache clean --force
# The package's own installer fetches the library that belongs to its version.
RUN ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js

FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04@sha256:8aef630a54bc5c5146ae5ce68e6af5caa3df0fb690bb91544175c91f307e4356
WORKDIR /app
ENV NODE_ENV=production \
    VQD_PROVIDER=cuda \
    VQD_CACHE=/var/cache/vqd \
    VQD_HEALTH_HOST=0.0.0.0 \
    VQD_HEALTH_PORT=8790 \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=dependencies /usr/local/bin/node /usr/local/bin/node
RUN useradd --system --uid 10001 --create-home vqd && install -d -o vqd -g vqd /var/cache/vqd /models
COPY --from=dependencies /app/node_modules node_modules
COPY LICENSE NOTICE package.json ./
COPY shared shared
COPY gpu-worker gpu-worker
USER vqd
VOLUME ["/var/cache/vqd"]
EXPOSE 8790
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:'+process.env.VQD_HEALTH_PORT+'/healthz').then((r)=>process.exit(r.ok?0:1),()=>process.exit(1))"]
ENTRYPOINT ["node"]
CMD ["gpu-worker/main.ts"]
