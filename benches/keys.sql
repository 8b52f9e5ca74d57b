-- After log.sql: three small tables with keys of other kinds, whose rows change together with posts. One post in twenty has a row in each.
CREATE TABLE tags (name text PRIMARY KEY, edits integer NOT NULL, note text NOT NULL);
CREATE TABLE members (post_id bigint, role text, edits integer NOT NULL, note text NOT NULL, PRIMARY KEY (post_id, role));
CREATE TABLE devices (id uuid PRIMARY KEY, edits integer NOT NULL, note text NOT NULL);
SELECT threadline.audit_table(t) FROM unnest('{tags,members,devices}'::regclass[]) AS t;
CREATE TEMPORARY VIEW small_images AS
  SELECT transaction_id, at, row, version, newest, deleted, small,
         CASE small WHEN 'tags' THEN jsonb_build_object('name', 'tag ' || row)
           WHEN 'members' THEN jsonb_build_object('post_id', row, 'role', 'editor')
           ELSE jsonb_build_object('id', md5(row::text)::uuid) END
           || jsonb_build_object('edits', version, 'note', repeat('z', 80)) AS image
    FROM images JOIN (VALUES (1, 'tags'), (6, 'members'), (11, 'devices')) AS s (place, small) ON s.place = row % 25;
INSERT INTO threadline.audit_changes (transaction_id, table_id, definition_id, op, captured_at, key_text, key_uuid, data_after, changed_from)
SELECT transaction_id, t.id, t.first_definition_id,
       CASE WHEN deleted THEN 'delete' WHEN version = 1 THEN 'insert' ELSE 'update' END, at + interval '1 ms',
       CASE small WHEN 'tags' THEN image ->> 'name' WHEN 'members' THEN jsonb_build_array(row, 'editor')::text END,
       CASE small WHEN 'devices' THEN md5(row::text)::uuid END,
       CASE WHEN NOT deleted THEN image END,
       CASE WHEN version > 1 THEN CASE WHEN deleted THEN image ELSE '{}' END || jsonb_build_object('edits', version - 1) END
  FROM small_images JOIN threadline.audited_tables AS t ON t.relation = small::regclass;
SET session_replication_role = replica;
INSERT INTO tags SELECT r.* FROM small_images CROSS JOIN LATERAL jsonb_populate_record(NULL::tags, image) AS r WHERE newest AND small = 'tags' AND NOT deleted;
INSERT INTO members SELECT r.* FROM small_images CROSS JOIN LATERAL jsonb_populate_record(NULL::members, image) AS r WHERE newest AND small = 'members' AND NOT deleted;
INSERT INTO devices SELECT r.* FROM small_images CROSS JOIN LATERAL jsonb_populate_record(NULL::devices, image) AS r WHERE newest AND small = 'devices' AND NOT deleted;
SET session_replication_role = origin;
UPDATE threadline.audited_tables SET capture_since = now() - interval '361 days';
DROP VIEW small_images;
