# The edge in workerd, for a single host without Cloudflare: wrangler's local runtime, with SQLite and images on a volume.
#   docker build -f infra/docker/edge.Dockerfile -t vqd-edge .
FROM node:24-bookworm-slim
WORKDIR /app
ENV WRANGLER_SEND_METRICS=false \
    WRANGLER_SEND_ERROR_REPORTS=false \
    WRANGLER_WRITE_LOGS=false \
    CLOUDFLARE_CF_FETCH_ENABLED=false \
    X_LOCAL_OBSERVABILITY=false \
    X_LOCAL_EXPLORER=false
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o node -g node /data
COPY package.json package-lock.json .npmrc ./
COPY shared/package.json shared/
COPY edge/package.json edge/
COPY gpu-worker/package.json gpu-worker/
# wrangler is a development dependency. .npmrc lets no install script run; those of workerd and esbuild check their binaries.
RUN npm ci --no-audit --no-fund \
 && npm rebuild --ignore-scripts=false esbuild workerd \
 && npm cache clean --force
COPY LICENSE NOTICE wrangler.toml tsconfig.base.json ./
COPY shared shared
COPY edge edge
COPY gpu-worker/package.json gpu-worker/
COPY infra/stack infra/stack
RUN chown -R node:node /app/edge /app/wrangler.toml && install -d -o node -g node /app/.wrangler
USER node
VOLUME ["/data"]
EXPOSE 8787
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8787/healthz').then((r)=>process.exit(r.ok?0:1),()=>process.exit(1))"]
# Variables and secrets of the edge come in the file /run/secrets/edge.env (NAME='value' lines).
ENTRYPOINT ["node", "--no-warnings", "infra/stack/edge-server.ts"]
CMD ["--config", "wrangler.toml", "--host", "0.0.0.0", "--port", "8787", "--persist-to", "/data", "--env-file", "/run/secrets/edge.env"]
