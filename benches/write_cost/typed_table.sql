-- A history table with the columns of the audited one: a row for each version, keys without constraints. Rows without a key have no
-- reference to be found by.
CREATE TABLE history.{table} (
  history_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  created_at timestamptz NOT NULL,
  label      text        NOT NULL,
  LIKE {table},
  {table}_id bigint,
  context_id uuid
);
CREATE INDEX {table}_context_id_idx ON history.{table} (context_id);
DO $do$
BEGIN
  IF '{key}' <> '' THEN
    CREATE INDEX {table}_id_idx ON history.{table} ({table}_id);
  END IF;
END
$do$;
