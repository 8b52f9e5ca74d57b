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
  'Legal holds on data that is neither purged nor redacted, whatever the retention policies; written by '
  'threadline.place_hold and threadline.release_hold.';
COMMENT ON COLUMN threadline.legal_holds.id IS 'Identity of the hold.';
COMMENT ON COLUMN threadline.legal_holds.table_id IS
  'The audited_tables row of the held table, or of the table of the held row.';
COMMENT ON COLUMN threadline.legal_holds.row_key IS 'Primary key of the held row; NULL if the whole table is held.';
COMMENT ON COLUMN threadline.legal_holds.actor_ref IS
  'The held actor. The hold covers everything done by or on behalf of the actor.';
COMMENT ON COLUMN threadline.legal_holds.reason IS 'Why the hold was placed.';
COMMENT ON COLUMN threadline.legal_holds.placed_at IS 'When the hold was placed.';
COMMENT ON COLUMN threadline.legal_holds.placed_by IS 'The database role that placed the hold (including SET ROLE).';
