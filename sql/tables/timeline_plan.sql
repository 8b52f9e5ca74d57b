-- How the changes that a filter lets through are found. threadline_internal.plan_timeline chooses, once a page.
CREATE TYPE threadline_internal.timeline_plan AS (
  by_transaction boolean,
  filter         jsonb,
  filter_key     text,
  condition      text
);
COMMENT ON TYPE threadline_internal.timeline_plan IS
  'How the changes that a filter of the timeline lets through are found.';
COMMENT ON COLUMN threadline_internal.timeline_plan.by_transaction IS
  'Whether changes are found by their transactions; else they are found by their row or table.';
COMMENT ON COLUMN threadline_internal.timeline_plan.filter IS 'The filter.';
COMMENT ON COLUMN threadline_internal.timeline_plan.filter_key IS
  'The part of the filter that names the fewest transactions; NULL where none names any.';
COMMENT ON COLUMN threadline_internal.timeline_plan.condition IS
  'SQL that decides whether the filter lets a change c through, of a transaction t.';
