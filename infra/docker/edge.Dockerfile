# The edge in workerd, for a single host without Cloudflare, with SQLite, images and keys on a volume.
#   docker build -f infra/docker/edge.Dockerfile -t vqd-edge .
FROM node:24-bookworm-slim@sha256:d6aa754f16b3197301076f047b5def2f02ea1dbbc2ca920407d46d7ec7f87b20 AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY shared/package.json shared/
COPY edge/package.json edge/
COPY gpu-worker/package.json gpu-worker/
COPY infra/openapi/package.json infra/openapi/
# .npmrc lets no install script run; those of workerd and esbuild check their binaries.
RUN npm ci --no-audit --no-fund \
 && npm rebuild --ignore-scripts=false esbuild workerd
COPY wrangler.toml tsconfig.base.json ./
COPY shared shared
COPY edge edge
COPY infra/edge infra/edge
COPY infra/stack/paths.ts infra/stack/
RUN node infra/edge/build.ts /built && cp -rL /built /program

# No packages, no sources of the edge: Node, the runtime, and the program.
FROM node:24-bookworm-slim@sha256:d6aa754f16b3197301076f047b5def2f02ea1dbbc2ca920407d46d7ec7f87b20
WORKDIR /app
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -m 0700 -o node -g node /data
COPY LICENSE NOTICE package.json ./
COPY infra/edge infra/edge
COPY shared/log.ts shared/log.ts
COPY --from=build /program program
USER node
VOLUME ["/data"]
EXPOSE 8787
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8787/healthz').then((r)=>process.exit(r.ok?0:1),()=>process.exit(1))"]
# Variables and secrets of the edge come in the file /run/secrets/edge.env (NAME='value' lines).
ENTRYPOINT ["node", "infra/edge/serve.ts"]
CMD ["--program", "program", "--data", "/data", "--env-file", "/run/secrets/edge.env", "--host", "0.0.0.0", "--port", "8787"]
