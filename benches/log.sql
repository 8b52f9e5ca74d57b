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

-- The first changes insert every row once, in order of their keys; the others fall on any row that is there.
CREATE TEMPORARY TABLE events AS
  SELECT n, row, at, row_number() OVER (PARTITION BY row ORDER BY n)::integer AS version,
         row_number() OVER (PARTITION BY row ORDER BY n DESC) = 1 AS newest
    FROM (SELECT n, CASE WHEN n <= {rows} THEN n ELSE 1 + (random() * ({rows} - 1))::bigint END AS row,
                 now() - interval '360 days' + n / 10 * (interval '360 days' * 10 / {changes}) AS at
            FROM generate_series(1, {changes}) AS n) AS e;
CREATE TEMPORARY TABLE images AS
  SELECT n, at, row, version, newest, row % 5 = 0 AS is_user,
         newest AND version > 1 AND row % 20 = 1 AS deleted,
         CASE WHEN row % 5 = 0
           THEN jsonb_build_object('id', row, 'name', 'user ' || row, 'email', 'user' || row || '@example.com', 'visits', version,
                                   'born', '1990-01-01', 'vip', row % 3 = 0, 'note', repeat('x', 80))
           ELSE jsonb_build_object('id', row, 'user_id', (1 + row % ({rows} / 5)) * 5, 'title', 'post ' || row || ' version ' || version,
                                   'body', repeat('y', 100), 'edits', version, 'at', '2026-01-01T00:00:00+00:00', 'hidden', false)
         END AS image
    FROM events ORDER BY n;
INSERT INTO threadline.audit_transactions (id, txid, occurred_at, actor_ref, database_role)
SELECT threadline.first_id_after(min(at) - interval '1 microsecond'), pg_current_xact_id(), min(at), '{"type":"job","id":"generator"}', current_user
  FROM images GROUP BY n / 10;
INSERT INTO threadline.audit_changes (transaction_id, table_id, op, captured_at, key_bigint, data_after, changed_from)
SELECT threadline.first_id_after(at - interval '1 microsecond'), CASE WHEN is_user THEN 1 ELSE 2 END,
       CASE WHEN deleted THEN 'delete' WHEN version = 1 THEN 'insert' ELSE 'update' END, at + interval '1 ms', row,
       CASE WHEN NOT deleted THEN image END,
       CASE WHEN version > 1 THEN
         CASE WHEN is_user THEN jsonb_build_object('visits', version - 1)
           ELSE CASE WHEN deleted THEN image ELSE '{}' END ||
             jsonb_build_object('title', 'post ' || row || ' version ' || version - 1, 'edits', version - 1) END END
  FROM images ORDER BY n;
ALTER TABLE users DISABLE TRIGGER USER;
ALTER TABLE posts DISABLE TRIGGER USER;
INSERT INTO users SELECT r.* FROM images CROSS JOIN LATERAL jsonb_populate_record(NULL::users, image) AS r WHERE newest AND is_user;
INSERT INTO posts SELECT r.* FROM images CROSS JOIN LATERAL jsonb_populate_record(NULL::posts, image) AS r WHERE newest AND NOT is_user AND NOT deleted;
ALTER TABLE users ENABLE TRIGGER USER;
ALTER TABLE posts ENABLE TRIGGER USER;
UPDATE threadline.audited_tables SET capture_since = now() - interval '361 days';
DROP TABLE events, images;
