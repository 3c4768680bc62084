// The hub's SQLite schema, as a list of migrations that each run once.

export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE predictions (
    id TEXT PRIMARY KEY,
    key_name TEXT NOT NULL,
    status TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    input TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    prompt_truncated INTEGER NOT NULL,
    images INTEGER NOT NULL,
    total_steps INTEGER NOT NULL,
    file_capability TEXT NOT NULL,
    stream_capability TEXT NOT NULL,
    -- Sequence of the job in the queue; null until the queue has confirmed it.
    job_seq INTEGER,
    -- 1 if the job has yet to be removed from the queue, or its worker told to stop.
    release INTEGER NOT NULL DEFAULT 0,
    attempt INTEGER NOT NULL DEFAULT 0,
    attempt_started_at INTEGER,
    resumed_from INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0,
    numerics_id TEXT,
    outputs TEXT NOT NULL DEFAULT '[]',
    error_code TEXT,
    error_message TEXT,
    logs TEXT NOT NULL DEFAULT '',
    event_seq INTEGER NOT NULL DEFAULT 0,
    predict_seconds REAL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    completed_at INTEGER,
    -- The prediction fails if it has not started by the former, or runs longer than the latter.
    queue_deadline_at INTEGER NOT NULL,
    run_timeout_ms INTEGER NOT NULL,
    steps_expired INTEGER NOT NULL DEFAULT 0,
    files_expired INTEGER NOT NULL DEFAULT 0
  );
  CREATE INDEX predictions_live ON predictions (status) WHERE completed_at IS NULL;
  CREATE INDEX predictions_release ON predictions (id) WHERE release = 1;
  CREATE INDEX predictions_completed ON predictions (completed_at);
  CREATE INDEX predictions_by_key ON predictions (key_name, created_at);

  -- Events as readers of the stream see them, numbered from 1 within a prediction.
  CREATE TABLE events (
    prediction_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (prediction_id, seq)
  ) WITHOUT ROWID;

  CREATE TABLE models (
    model_key TEXT PRIMARY KEY,
    manifest TEXT NOT NULL
  ) WITHOUT ROWID;

  -- The cursor in the events stream, among other things.
  CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  ALTER TABLE predictions ADD COLUMN previews_seen INTEGER NOT NULL DEFAULT 0;
  `,
  `
  ALTER TABLE predictions ADD COLUMN cancel_at INTEGER;
  ALTER TABLE predictions ADD COLUMN idempotency_key TEXT;
  ALTER TABLE predictions ADD COLUMN request_hash TEXT;
  CREATE UNIQUE INDEX predictions_by_idempotency_key ON predictions (key_name, idempotency_key)
    WHERE idempotency_key IS NOT NULL;
  DROP INDEX predictions_by_key;
  CREATE INDEX predictions_by_key ON predictions (key_name, created_at, id);
  `,
  `
  ALTER TABLE predictions ADD COLUMN webhook TEXT;
  -- JSON list of the requested events.
  ALTER TABLE predictions ADD COLUMN webhook_events TEXT NOT NULL DEFAULT '[]';
  ALTER TABLE predictions ADD COLUMN webhook_disabled INTEGER NOT NULL DEFAULT 0;
  -- Origin of links in webhooks, which are not responses to a request.
  ALTER TABLE predictions ADD COLUMN origin TEXT NOT NULL DEFAULT '';

  CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    prediction_id TEXT NOT NULL,
    event TEXT NOT NULL,
    body TEXT,
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    tries INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER
  );
  CREATE INDEX deliveries_due ON deliveries (next_at) WHERE next_at IS NOT NULL;
  CREATE INDEX deliveries_of_prediction ON deliveries (prediction_id);

  CREATE TABLE delivery_attempts (
    delivery_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    status INTEGER,
    error TEXT,
    ms INTEGER NOT NULL,
    PRIMARY KEY (delivery_id, n)
  ) WITHOUT ROWID;

  CREATE TABLE webhook_secrets (
    key_name TEXT PRIMARY KEY,
    secrets TEXT NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  -- Rank of its priority in the order of service; 0 is served first.
  ALTER TABLE predictions ADD COLUMN rank INTEGER NOT NULL DEFAULT 1;
  `,
  `
  -- Host of the webhook's URL; part of the index, so that deliveries that cannot be sent now are skipped quickly.
  ALTER TABLE deliveries ADD COLUMN host TEXT NOT NULL DEFAULT '';
  UPDATE deliveries SET host = coalesce((
    SELECT lower(substr(rest, 1, instr(rest || '/', '/') - 1)) FROM
      (SELECT substr(webhook, instr(webhook, '://') + 3) AS rest FROM predictions WHERE id = prediction_id)
  ), '') WHERE next_at IS NOT NULL;
  DROP INDEX deliveries_due;
  CREATE INDEX deliveries_due ON deliveries (next_at, created_at, host, prediction_id) WHERE next_at IS NOT NULL;
  `,
  `
  -- Start of its last attempt.
  ALTER TABLE deliveries ADD COLUMN sent_at INTEGER;
  `,
  `
  CREATE TABLE parked_events (
    prediction_id TEXT NOT NULL,
    -- Sequence of the message in the events stream.
    sequence INTEGER NOT NULL,
    subject TEXT NOT NULL,
    data BLOB NOT NULL,
    traceparent TEXT,
    PRIMARY KEY (prediction_id, sequence)
  );
  `,
  `
  -- Owner of the prediction: deliveries are sent in turn by owner. The host loses its port.
  ALTER TABLE deliveries ADD COLUMN owner TEXT NOT NULL DEFAULT '';
  UPDATE deliveries SET
    owner = coalesce((SELECT key_name FROM predictions WHERE id = prediction_id), ''),
    host = CASE WHEN host LIKE '[%' THEN substr(host, 1, instr(host, ']'))
                ELSE substr(host, 1, instr(host || ':', ':') - 1) END
    WHERE next_at IS NOT NULL;
  DROP INDEX deliveries_due;
  CREATE INDEX deliveries_due ON deliveries (next_at) WHERE next_at IS NOT NULL;
  CREATE INDEX deliveries_by_owner ON deliveries (owner, next_at, created_at, host, prediction_id)
    WHERE next_at IS NOT NULL;
  `,
  `
  -- When its owner deleted it.
  ALTER TABLE predictions ADD COLUMN deleted_at INTEGER;
  CREATE INDEX predictions_deleted ON predictions (deleted_at) WHERE deleted_at IS NOT NULL;
  `,
  `
  -- What a prediction takes up: in this database (of it, what its steps, previews and log lines add, which go earlier; they are
  -- included from its end on), and in object storage.
  ALTER TABLE predictions ADD COLUMN record_bytes INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE predictions ADD COLUMN step_bytes INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE predictions ADD COLUMN file_bytes INTEGER NOT NULL DEFAULT 0;
  UPDATE predictions SET record_bytes = length(CAST(input AS BLOB)) + 2000;

  -- The sums by owner, kept by triggers: whatever changes or deletes a prediction, they stay true.
  CREATE TABLE usage (
    key_name TEXT PRIMARY KEY,
    records INTEGER NOT NULL,
    files INTEGER NOT NULL
  ) WITHOUT ROWID;
  INSERT INTO usage SELECT key_name, sum(record_bytes), sum(file_bytes) FROM predictions GROUP BY key_name;
  CREATE TRIGGER usage_of_new AFTER INSERT ON predictions BEGIN
    INSERT INTO usage VALUES (new.key_name, new.record_bytes, new.file_bytes)
      ON CONFLICT (key_name) DO UPDATE SET records = records + excluded.records, files = files + excluded.files;
  END;
  CREATE TRIGGER usage_of_changed AFTER UPDATE OF record_bytes, file_bytes ON predictions BEGIN
    UPDATE usage SET records = records + new.record_bytes - old.record_bytes,
      files = files + new.file_bytes - old.file_bytes WHERE key_name = new.key_name;
  END;
  CREATE TRIGGER usage_of_deleted AFTER DELETE ON predictions BEGIN
    UPDATE usage SET records = records - old.record_bytes, files = files - old.file_bytes
      WHERE key_name = old.key_name;
    DELETE FROM usage WHERE key_name = old.key_name AND records <= 0 AND files <= 0;
  END;
  `,
  `
  -- When it is canceled because its client has left, unless the client asks again.
  ALTER TABLE predictions ADD COLUMN abandoned_until INTEGER;
  CREATE INDEX predictions_abandoned ON predictions (key_name, request_hash)
    WHERE abandoned_until IS NOT NULL AND completed_at IS NULL;
  `,
  `
  -- The tokenizer as its worker announced it, and the SHA-256 of that; null for workers of releases that did not.
  ALTER TABLE models ADD COLUMN tokenizer BLOB;
  ALTER TABLE models ADD COLUMN tokenizer_id TEXT;
  `,
  `
  -- held: 1 until the job is dispatched. turn: when it is served among those of its version and rank; see QueueStore.
  ALTER TABLE predictions ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE predictions ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
  DROP INDEX predictions_live;
  CREATE INDEX predictions_live ON predictions (held, status, version, rank, turn, key_name)
    WHERE completed_at IS NULL;
  -- Jobs that wait here, until the queue has confirmed them.
  CREATE TABLE held_jobs (
    prediction_id TEXT PRIMARY KEY,
    job BLOB NOT NULL,
    request_id TEXT NOT NULL,
    traceparent TEXT
  );
  `,
  `
  -- Files that callers have uploaded; their bytes are in object storage. They count among an owner's images.
  CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    key_name TEXT NOT NULL,
    capability TEXT NOT NULL,
    type TEXT NOT NULL,
    filename TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    -- A JSON object of the owner's own.
    metadata TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  CREATE INDEX uploads_by_key ON uploads (key_name, created_at, id);
  CREATE INDEX uploads_expiring ON uploads (expires_at);
  CREATE TRIGGER usage_of_new_upload AFTER INSERT ON uploads BEGIN
    INSERT INTO usage VALUES (new.key_name, 0, new.size)
      ON CONFLICT (key_name) DO UPDATE SET files = files + excluded.files;
  END;
  CREATE TRIGGER usage_of_deleted_upload AFTER DELETE ON uploads BEGIN
    UPDATE usage SET files = files - old.size WHERE key_name = old.key_name;
    DELETE FROM usage WHERE key_name = old.key_name AND records <= 0 AND files <= 0;
  END;
  `,
  `
  -- stage: 0 while the hub holds the job, 1 in the workers' queue, 2 with a worker; see QueueStore.
  ALTER TABLE predictions ADD COLUMN stage INTEGER NOT NULL DEFAULT 1;
  UPDATE predictions SET stage = CASE WHEN held = 1 THEN 0 WHEN status = 'processing' THEN 2 ELSE 1 END
    WHERE completed_at IS NULL;
  DROP INDEX predictions_live;
  ALTER TABLE predictions DROP COLUMN held;
  CREATE INDEX predictions_live ON predictions (stage, version, rank, turn, key_name) WHERE completed_at IS NULL;
  -- Whether the worker hands the job back when asked, and since when it waits to be continued.
  ALTER TABLE predictions ADD COLUMN yields INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE predictions ADD COLUMN yielded_at INTEGER;
  -- Jobs of live predictions. round: how often it has been taken back, which makes it another message in the queue.
  ALTER TABLE held_jobs RENAME TO jobs;
  ALTER TABLE jobs ADD COLUMN round INTEGER NOT NULL DEFAULT 0;
  `,
  `
  -- What a prediction starts from: files in object storage, JSON list in the order in which they follow the job.
  ALTER TABLE predictions ADD COLUMN input_capability TEXT NOT NULL DEFAULT '';
  ALTER TABLE predictions ADD COLUMN input_files TEXT NOT NULL DEFAULT '[]';
  `,
  `
  -- What is asked with every event is answered from indices alone: a row is as long as its input, and most columns lie behind it.
  CREATE INDEX predictions_with_steps ON predictions (completed_at) WHERE steps_expired = 0;
  CREATE INDEX predictions_with_files ON predictions (completed_at) WHERE files_expired = 0;
  DROP INDEX predictions_completed;
  CREATE INDEX predictions_completed
    ON predictions (completed_at, version, status, predict_seconds, images, total_steps);
  DROP INDEX predictions_live;
  CREATE INDEX predictions_live
    ON predictions (stage, version, rank, turn, key_name, images, total_steps, step, completed_at)
    WHERE completed_at IS NULL;
  CREATE INDEX predictions_live_of ON predictions (key_name, images, total_steps, step, completed_at)
    WHERE completed_at IS NULL;
  CREATE INDEX predictions_deadlines
    ON predictions (started_at, yielded_at, run_timeout_ms, queue_deadline_at, cancel_at, abandoned_until, completed_at)
    WHERE completed_at IS NULL;
  `,
  `
  -- What the runs of predictions began with, and their jobs: for receipts. They are kept as long as the steps.
  CREATE TABLE beginnings (
    prediction_id TEXT PRIMARY KEY,
    job BLOB NOT NULL,
    step INTEGER NOT NULL,
    held TEXT,
    tokens BLOB NOT NULL
  );
  CREATE TRIGGER beginnings_kept AFTER UPDATE OF steps_expired, deleted_at ON predictions
    WHEN NEW.steps_expired = 1 OR NEW.deleted_at IS NOT NULL
    BEGIN DELETE FROM beginnings WHERE prediction_id = NEW.id; END;
  CREATE TRIGGER beginnings_removed AFTER DELETE ON predictions
    BEGIN DELETE FROM beginnings WHERE prediction_id = OLD.id; END;
  `,
  `
  -- The input has a row of its own: it is as long as its prompt, and would be rewritten with each change of its prediction.
  CREATE TABLE inputs (prediction_id TEXT PRIMARY KEY, input TEXT NOT NULL) WITHOUT ROWID;
  INSERT INTO inputs SELECT id, input FROM predictions WHERE deleted_at IS NULL;
  ALTER TABLE predictions DROP COLUMN input;
  -- A row written is billed, and each entry of an index is one: none holds what a running prediction changes, or is there before
  -- it is of use.
  DROP INDEX predictions_with_steps;
  CREATE INDEX predictions_with_steps ON predictions (completed_at)
    WHERE steps_expired = 0 AND completed_at IS NOT NULL;
  DROP INDEX predictions_with_files;
  CREATE INDEX predictions_with_files ON predictions (completed_at)
    WHERE files_expired = 0 AND completed_at IS NOT NULL;
  DROP INDEX predictions_completed;
  CREATE INDEX predictions_completed
    ON predictions (completed_at, version, status, predict_seconds, images, total_steps) WHERE completed_at IS NOT NULL;
  DROP INDEX predictions_live;
  CREATE INDEX predictions_live ON predictions (stage, version, rank, turn, key_name, completed_at)
    WHERE completed_at IS NULL;
  DROP INDEX predictions_live_of;
  CREATE INDEX predictions_live_of ON predictions (key_name) WHERE completed_at IS NULL;
  DROP INDEX predictions_deadlines;
  CREATE TABLE jobs_of_live (
    prediction_id TEXT PRIMARY KEY,
    job BLOB NOT NULL,
    request_id TEXT NOT NULL,
    traceparent TEXT,
    round INTEGER NOT NULL DEFAULT 0
  ) WITHOUT ROWID;
  INSERT INTO jobs_of_live SELECT prediction_id, job, request_id, traceparent, round FROM jobs;
  DROP TABLE jobs;
  ALTER TABLE jobs_of_live RENAME TO jobs;
  -- What belongs to a prediction goes with it.
  CREATE TRIGGER parts_removed AFTER DELETE ON predictions BEGIN
    DELETE FROM inputs WHERE prediction_id = OLD.id;
    DELETE FROM events WHERE prediction_id = OLD.id;
    DELETE FROM delivery_attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE prediction_id = OLD.id);
    DELETE FROM deliveries WHERE prediction_id = OLD.id;
  END;
  `,
  `
  -- Which versions of a model serve its name.
  CREATE TABLE routes (
    name TEXT PRIMARY KEY,
    route TEXT NOT NULL,
    written_at INTEGER NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  -- Unguessable URL segment of the link by which others may see it; null unless it is shared.
  ALTER TABLE predictions ADD COLUMN share_capability TEXT;
  `,
  `
  -- What its usage follows from, beside its step and outputs: the steps that its source spares it; the furthest step of attempts
  -- whose steps were made again; the time of earlier attempts, and that of the last one up to its last step.
  ALTER TABLE predictions ADD COLUMN spared INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE predictions ADD COLUMN furthest INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE predictions ADD COLUMN worker_ms INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE predictions ADD COLUMN attempt_ms INTEGER NOT NULL DEFAULT 0;
  UPDATE predictions SET worker_ms = CAST(predict_seconds * 1000 AS INTEGER)
    WHERE completed_at IS NULL AND predict_seconds IS NOT NULL;
  -- A line for each prediction that has ended since this release, in the order in which they have: it outlives the prediction. The
  -- last line is never deleted, so that no number is given twice.
  CREATE TABLE usage_lines (
    seq INTEGER PRIMARY KEY,
    prediction_id TEXT NOT NULL,
    key_name TEXT NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    completed_at INTEGER NOT NULL,
    images INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    gpu_ms INTEGER NOT NULL
  );
  -- The same added up, but for the last lines; a day is a UTC date, such as 2026-11-29.
  CREATE TABLE usage_by_day (
    key_name TEXT NOT NULL,
    day TEXT NOT NULL,
    model TEXT NOT NULL,
    predictions INTEGER NOT NULL,
    images INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    gpu_ms INTEGER NOT NULL,
    PRIMARY KEY (key_name, day, model)
  ) WITHOUT ROWID;
  `,
  `
  -- Id of the key that a prediction was made with, among those of its owner.
  ALTER TABLE predictions ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
  ALTER TABLE usage_lines ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
  `,
  `
  -- The hub that is home to an owner, in the hub of shard 0.
  CREATE TABLE homes (key_name TEXT PRIMARY KEY, shard INTEGER NOT NULL) WITHOUT ROWID;
  `,
  `
  -- What keys of an owner have done that concerns others.
  CREATE TABLE audit (
    key_name TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT,
    request_id TEXT NOT NULL,
    PRIMARY KEY (key_name, seq)
  ) WITHOUT ROWID;
  `,
  `
  -- Objects in the archive, each with records of one owner that were made on one UTC day. An owner's do not overlap: records are
  -- archived in the order in which lists have them. ended_at: the last end of any. stale_since: since when it has held a record
  -- that has been deleted.
  CREATE TABLE archive_parts (
    seq INTEGER PRIMARY KEY,
    key_name TEXT NOT NULL,
    name TEXT NOT NULL,
    first_at INTEGER NOT NULL,
    first_id TEXT NOT NULL,
    last_at INTEGER NOT NULL,
    last_id TEXT NOT NULL,
    ended_at INTEGER NOT NULL,
    records INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    stale_since INTEGER
  );
  CREATE INDEX archive_parts_by_key ON archive_parts (key_name, last_at, last_id);
  CREATE INDEX archive_parts_expiring ON archive_parts (ended_at);
  CREATE INDEX archive_parts_stale ON archive_parts (stale_since) WHERE stale_since IS NOT NULL;
  -- Where the record of a prediction is. One that is not here is in no archive, whatever an object may still hold.
  CREATE TABLE archived (id TEXT PRIMARY KEY, part INTEGER NOT NULL) WITHOUT ROWID;
  -- Ids that owners have given, of archived predictions.
  CREATE TABLE archived_own_ids (
    key_name TEXT NOT NULL,
    own_id TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (key_name, own_id)
  ) WITHOUT ROWID;
  -- Objects to be deleted, from then on: replaced ones, and those whose writing may have been given up.
  CREATE TABLE archive_trash (name TEXT PRIMARY KEY, due_at INTEGER NOT NULL) WITHOUT ROWID;
  CREATE INDEX archive_trash_due ON archive_trash (due_at);
  -- They count among an owner's images: what it has in object storage.
  CREATE TRIGGER usage_of_new_part AFTER INSERT ON archive_parts BEGIN
    INSERT INTO usage VALUES (new.key_name, 0, new.bytes)
      ON CONFLICT (key_name) DO UPDATE SET files = files + excluded.files;
  END;
  CREATE TRIGGER usage_of_changed_part AFTER UPDATE OF bytes ON archive_parts BEGIN
    UPDATE usage SET files = files + new.bytes - old.bytes WHERE key_name = new.key_name;
  END;
  CREATE TRIGGER usage_of_deleted_part AFTER DELETE ON archive_parts BEGIN
    UPDATE usage SET files = files - old.bytes WHERE key_name = old.key_name;
    DELETE FROM usage WHERE key_name = old.key_name AND records <= 0 AND files <= 0;
  END;
  `,
];

/** Migrates the database to the newest schema, or to that of an earlier release. */
export function migrate(storage: DurableObjectStorage, migrations = MIGRATIONS): void {
  const { sql } = storage;
  sql.exec("CREATE TABLE IF NOT EXISTS migrations (id INTEGER PRIMARY KEY)");
  const done = Number(sql.exec("SELECT count(*) AS n FROM migrations").one()["n"]);
  for (const [id, statements] of migrations.entries()) {
    if (id < done) continue;
    storage.transactionSync(() => {
      sql.exec(statements);
      sql.exec("INSERT INTO migrations (id) VALUES (?)", id);
    });
  }
}
