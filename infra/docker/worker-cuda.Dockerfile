# A GPU worker for NVIDIA: CUDA 13 and cuDNN 9, and the runtime's CUDA library. With VQD_PROVIDER=webgpu it uses Vulkan instead.
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
# The package's own installer fetches the library that belongs to its version. "cuda12" is the only name that it knows: since
# 1.27 the library is built for CUDA 13.
RUN ONNXRUNTIME_NODE_INSTALL=cuda12 node node_modules/onnxruntime-node/script/install.js

FROM nvidia/cuda:13.0.2-cudnn-runtime-ubuntu24.04@sha256:14d94b039cb94bbd5da559f303b46bc4b0d5d6c24ab1a9d7b186e566ed3400dc
WORKDIR /app
ENV NODE_ENV=production \
    VQD_PROVIDER=cuda \
    VQD_CACHE=/var/cache/vqd \
    VQD_HEALTH_HOST=0.0.0.0 \
    VQD_HEALTH_PORT=8790 \
    MALLOC_MMAP_THRESHOLD_=1048576 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,graphics
# The Vulkan loader; NVIDIA's driver for it comes from the host, with the capability "graphics".
RUN apt-get update \
 && apt-get install -y --no-install-recommends libvulkan1 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=dependencies /usr/local/bin/node /usr/local/bin/node
RUN groupadd --system --gid 10001 vqd && useradd --system --uid 10001 --gid 10001 --create-home vqd \
 && install -d -o vqd -g vqd /var/cache/vqd /models
COPY --from=dependencies /app/node_modules node_modules
# What the library needs is here, or the build fails: a worker would only fail later, on a machine with a GPU. libcuda.so.1 is the
# driver's, which the host provides; cuDNN is loaded by name, so ldd does not know of it.
RUN provider=node_modules/onnxruntime-node/bin/napi-v6/linux/x64/libonnxruntime_providers_cuda.so \
 && ldd "$provider" > /tmp/libraries \
 && if grep "not found" /tmp/libraries | grep -v "libcuda.so.1"; then exit 1; fi \
 && rm /tmp/libraries \
 && ldconfig -p | grep -q "libcudnn.so.9"
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
