-- Performs one batch of the long-running work of releases, oldest first. It can be killed at any time: its work and its
-- position commit together. It never runs during a purge or a redaction, which change the same rows.
CREATE FUNCTION threadline.upgrade_step(batch_size integer DEFAULT 1000, OUT step text, OUT rows_done bigint,
  OUT row_estimate bigint, OUT steps_left bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  work threadline_internal.upgrade_steps;
  next_position jsonb;
  batch_rows bigint;
BEGIN
  PERFORM threadline_internal.take_lock('purge');
  SELECT s.* INTO work FROM threadline_internal.upgrade_steps AS s
   WHERE s.ended_at IS NULL ORDER BY s.noted_at, s.name LIMIT 1;
  IF FOUND THEN
    EXECUTE format('SELECT next_position, batch_rows FROM threadline_internal.%I($1, $2)', work.name)
      INTO next_position, batch_rows USING work.position, greatest(batch_size, 1);
    UPDATE threadline_internal.upgrade_steps AS s
       SET position = coalesce(next_position, s.position), rows_done = s.rows_done + batch_rows,
           ended_at = CASE WHEN next_position IS NULL THEN clock_timestamp() END
     WHERE s.name = work.name
    RETURNING s.name, s.rows_done, s.row_estimate INTO step, rows_done, row_estimate;
  END IF;
  SELECT count(*) INTO steps_left FROM threadline_internal.upgrade_steps AS s WHERE s.ended_at IS NULL;
END
$function$;
COMMENT ON FUNCTION threadline.upgrade_step(integer) IS
  'Performs a batch of the long-running work of an upgrade; returns what was done, its progress, and how many steps '
  'are left. Call it until none is left, each time in its own transaction.';
