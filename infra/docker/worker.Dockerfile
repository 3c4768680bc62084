# A GPU worker on the CPU provider. Build from the repository's root:
#   docker build -f infra/docker/worker.Dockerfile -t vqd-worker .
FROM node:24-bookworm-slim@sha256:d6aa754f16b3197301076f047b5def2f02ea1dbbc2ca920407d46d7ec7f87b20 AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY shared/package.json shared/
COPY edge/package.json edge/
COPY gpu-worker/package.json gpu-worker/
COPY infra/openapi/package.json infra/openapi/
# Of the worker's half only; no script of a package is run.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund --workspace=@vqd/gpu-worker --workspace=@vqd/shared \
 && npm cache clean --force

FROM node:24-bookworm-slim@sha256:d6aa754f16b3197301076f047b5def2f02ea1dbbc2ca920407d46d7ec7f87b20
WORKDIR /app
ENV NODE_ENV=production \
    VQD_CACHE=/var/cache/vqd \
    VQD_HEALTH_HOST=0.0.0.0 \
    VQD_HEALTH_PORT=8790 \
    MALLOC_MMAP_THRESHOLD_=1048576
RUN install -d -o node -g node /var/cache/vqd /models
COPY --from=dependencies /app/node_modules node_modules
COPY LICENSE NOTICE package.json ./
COPY shared shared
COPY gpu-worker gpu-worker
USER node
# Checkpoint folders are mounted at /models (VQD_MODEL=/models/...); without one the bundled model is served.
VOLUME ["/var/cache/vqd"]
EXPOSE 8790
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:'+process.env.VQD_HEALTH_PORT+'/healthz').then((r)=>process.exit(r.ok?0:1),()=>process.exit(1))"]
ENTRYPOINT ["node"]
CMD ["gpu-worker/main.ts"]
