CREATE TABLE threadline_internal.purged_months (
  lower_bound timestamptz PRIMARY KEY,
  upper_bound timestamptz NOT NULL,
  after_id    uuid        NOT NULL
);
COMMENT ON TABLE threadline_internal.purged_months IS
  'Months whose partition was dropped, and whose transactions are still to be gone through for those that are empty '
  'now.';
COMMENT ON COLUMN threadline_internal.purged_months.lower_bound IS 'Its beginning.';
COMMENT ON COLUMN threadline_internal.purged_months.upper_bound IS 'Its end.';
COMMENT ON COLUMN threadline_internal.purged_months.after_id IS 'The last transaction that was gone through.';
