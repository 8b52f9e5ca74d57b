-- How to find the changes that match a filter. threadline_internal.plan_timeline chooses the plan once per page.
CREATE TYPE threadline_internal.timeline_plan AS (
  by_transaction boolean,
  filter         jsonb,
  filter_key     text,
  condition      text
);
COMMENT ON TYPE threadline_internal.timeline_plan IS 'How to find the changes that match a timeline filter.';
COMMENT ON COLUMN threadline_internal.timeline_plan.by_transaction IS
  'Whether changes are found through their transactions instead of through their row or table.';
COMMENT ON COLUMN threadline_internal.timeline_plan.filter IS 'The filter.';
COMMENT ON COLUMN threadline_internal.timeline_plan.filter_key IS
  'The part of the filter that matches the fewest transactions; NULL if no part selects transactions.';
COMMENT ON COLUMN threadline_internal.timeline_plan.condition IS
  'SQL condition that decides whether a change c of a transaction t matches the filter.';
