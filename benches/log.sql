-- A year of changes to users and their posts, written straight into the record as capture would have written them:
-- {rows} rows in all, one in five a user, and {changes} changes in transactions of ten. Every row is inserted within
-- the year, most are updated, one post in twenty is deleted in the end.
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, email text NOT NULL, visits integer NOT NULL, born date, vip boolean NOT NULL, note text);
CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint NOT NULL, title text NOT NULL, body text NOT NULL, edits integer NOT NULL, at timestamptz NOT NULL, hidden boolean NOT NULL);
CREATE INDEX posts_user_id_idx ON posts (user_id);
SELECT threadline.audit_table('users'), threadline.audit_table('posts');

-- Partitions begin with the oldest change in the default partition.
INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, key_bigint)
VALUES (gen_random_uuid(), 0, 'insert', now() - interval '360 days', 0);
SELECT threadline.create_partitions();
DELETE FROM threadline.audit_changes;

CREATE TEMPORARY TABLE transactions AS
  SELECT n, at, threadline.first_id_after(at - interval '1 microsecond') AS id
    FROM (SELECT n, now() - interval '360 days' + n * (interval '360 days' * 10 / {changes}) AS at
            FROM generate_series(0, {changes} / 10 - 1) AS n) AS t;
INSERT INTO threadline.audit_transactions (id, txid, occurred_at, actor_ref, database_role)
SELECT id, pg_current_xact_id(), at, '{"type":"job","id":"generator"}', current_user FROM transactions;

-- The first changes insert every row once, in order of their keys; the others fall on any row that is there, the same
-- at every run.
SELECT setseed(0.5);
CREATE TEMPORARY TABLE events AS
  SELECT *, row_number() OVER versions AS version, lead(n) OVER versions IS NULL AS newest
    FROM (SELECT n, transaction_id, at, CASE WHEN n <= {rows} THEN n ELSE 1 + (random() * ({rows} - 1))::integer END AS row
            FROM (SELECT t.n * 10 + k AS n, t.id AS transaction_id, t.at FROM transactions AS t CROSS JOIN generate_series(1, 10) AS k) AS e) AS e
  WINDOW versions AS (PARTITION BY row ORDER BY n);
-- The subquery is sorted before images are made of it.
CREATE TEMPORARY VIEW images AS
  SELECT transaction_id, at, row, version, newest, row % 5 = 0 AS is_user, newest AND version > 1 AND row % 20 = 1 AS deleted,
         CASE WHEN row % 5 = 0
           THEN jsonb_build_object('id', row, 'name', 'user ' || row, 'email', 'user' || row || '@example.com', 'visits', version,
                                   'born', '1990-01-01', 'vip', row % 3 = 0, 'note', repeat('x', 80))
           ELSE jsonb_build_object('id', row, 'user_id', (1 + row % ({rows} / 5)) * 5, 'title', 'post ' || row || ' version ' || version,
                                   'body', repeat('y', 100), 'edits', version, 'at', '2026-01-01T00:00:00+00:00', 'hidden', false)
         END AS image
    FROM (SELECT * FROM events ORDER BY n) AS e;
INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, key_bigint, data_after, changed_from)
SELECT transaction_id, CASE WHEN is_user THEN 1 ELSE 2 END,
       CASE WHEN deleted THEN 'delete' WHEN version = 1 THEN 'insert' ELSE 'update' END, at + interval '1 ms', row,
       CASE WHEN NOT deleted THEN image END,
       CASE WHEN version > 1 THEN
         CASE WHEN is_user THEN jsonb_build_object('visits', version - 1)
           ELSE CASE WHEN deleted THEN image ELSE '{}' END ||
             jsonb_build_object('title', 'post ' || row || ' version ' || version - 1, 'edits', version - 1) END END
  FROM images;
ALTER TABLE users DISABLE TRIGGER USER;
ALTER TABLE posts DISABLE TRIGGER USER;
INSERT INTO users SELECT r.* FROM images CROSS JOIN LATERAL jsonb_populate_record(NULL::users, image) AS r WHERE newest AND is_user;
INSERT INTO posts SELECT r.* FROM images CROSS JOIN LATERAL jsonb_populate_record(NULL::posts, image) AS r WHERE newest AND NOT is_user AND NOT deleted;
ALTER TABLE users ENABLE TRIGGER USER;
ALTER TABLE posts ENABLE TRIGGER USER;
UPDATE threadline.audited_tables SET capture_since = now() - interval '361 days';
DROP VIEW images;
DROP TABLE events, transactions;
