CREATE TABLE threadline.legal_holds (
  id        bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  table_id  integer,
  row_key   text        COLLATE "C",
  actor_ref jsonb,
  reason    text        NOT NULL,
  placed_at timestamptz NOT NULL,
  placed_by text        NOT NULL,
  CHECK (num_nonnulls(table_id, actor_ref) = 1 AND (row_key IS NULL OR table_id IS NOT NULL))
);
COMMENT ON TABLE threadline.legal_holds IS
  'What is neither removed nor redacted, whatever the policies; written by threadline.place_hold and '
  'threadline.release_hold.';
COMMENT ON COLUMN threadline.legal_holds.id IS 'Identity of the hold.';
COMMENT ON COLUMN threadline.legal_holds.table_id IS
  'The audited_tables row of the table that is held, or of the table of the row.';
COMMENT ON COLUMN threadline.legal_holds.row_key IS 'Primary key of the row that is held; NULL for the whole table.';
COMMENT ON COLUMN threadline.legal_holds.actor_ref IS
  'The actor of whom everything is held: what was done by them, and for them.';
COMMENT ON COLUMN threadline.legal_holds.reason IS 'Why.';
COMMENT ON COLUMN threadline.legal_holds.placed_at IS 'Since when.';
COMMENT ON COLUMN threadline.legal_holds.placed_by IS 'The database role that placed it (SET ROLE included).';
