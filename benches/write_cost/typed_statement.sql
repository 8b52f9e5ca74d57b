CREATE FUNCTION history.capture() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  actor jsonb := nullif(current_setting('app.actor', true), '')::jsonb;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    EXECUTE format('INSERT INTO history.%I SELECT o.*, ''before'', clock_timestamp(), txid_current(), $1 FROM old_rows AS o
                    UNION ALL SELECT n.*, ''after'', clock_timestamp(), txid_current(), $1 FROM new_rows AS n', TG_TABLE_NAME)
      USING actor;
  ELSE
    EXECUTE format('INSERT INTO history.%I SELECT r.*, $1, clock_timestamp(), txid_current(), $2 FROM %s AS r',
                   TG_TABLE_NAME, CASE TG_OP WHEN 'DELETE' THEN 'old_rows' ELSE 'new_rows' END)
      USING lower(TG_OP), actor;
  END IF;
  RETURN NULL;
END
$function$;
CREATE TRIGGER capture_insert AFTER INSERT ON item REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION history.capture();
CREATE TRIGGER capture_update AFTER UPDATE ON item REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION history.capture();
CREATE TRIGGER capture_delete AFTER DELETE ON item REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION history.capture();
