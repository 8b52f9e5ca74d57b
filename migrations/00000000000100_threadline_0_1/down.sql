-- Drops the audit log unless it contains data: first export what must be kept.
DO $do$
BEGIN
  -- Prevents anyone from adding data between this check and the end.
  LOCK TABLE threadline.audit_changes, threadline.audit_actions IN ACCESS EXCLUSIVE MODE;
  IF coalesce(current_setting('threadline.drop_audit_log', true), '') <> 'yes'
    AND (EXISTS (SELECT FROM threadline.audit_changes) OR EXISTS (SELECT FROM threadline.audit_actions)) THEN
    RAISE EXCEPTION 'the audit log has changes or actions in it, so it is not dropped'
      USING ERRCODE = 'object_not_in_prerequisite_state', CONSTRAINT = 'threadline_drop_audit_log',
        HINT = 'Export it first. To drop it with everything in it, set threadline.drop_audit_log to yes, for example '
          'with PGOPTIONS=''-c threadline.drop_audit_log=yes''.';
  END IF;
  -- In the same statement, because psql continues after an error. CASCADE also drops the triggers of the audited
  -- tables, which call functions of these schemas.
  DROP SCHEMA threadline, threadline_internal CASCADE;
END
$do$;
