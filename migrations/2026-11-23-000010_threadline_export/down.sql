DROP FUNCTION threadline.timeline_export(jsonb, regclass[], timestamptz, bigint, integer);
