# An application's image: your own base and application, and three lines for millstream.
FROM millstream AS millstream

FROM debian:bookworm-slim
COPY page_views /app/page_views
ENV DATABASE_PATH=/data/page_views.db
RUN mkdir -p /data

COPY --from=millstream /millstream /usr/local/bin/millstream
COPY litestream.yml /etc/litestream.yml
CMD ["millstream", "run"]
