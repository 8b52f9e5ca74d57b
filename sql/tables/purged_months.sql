CREATE TABLE threadline_internal.purged_months (
  lower_bound timestamptz PRIMARY KEY,
  upper_bound timestamptz NOT NULL,
  after_id    uuid        NOT NULL
);
COMMENT ON TABLE threadline_internal.purged_months IS
  'Months whose partition was dropped, and whose transactions have not all been checked for being empty.';
COMMENT ON COLUMN threadline_internal.purged_months.lower_bound IS 'Start of the month.';
COMMENT ON COLUMN threadline_internal.purged_months.upper_bound IS 'End of the month.';
COMMENT ON COLUMN threadline_internal.purged_months.after_id IS 'The last transaction that was checked.';
