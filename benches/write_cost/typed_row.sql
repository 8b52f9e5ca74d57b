CREATE FUNCTION history.capture() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  actor jsonb := nullif(current_setting('app.actor', true), '')::jsonb;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    EXECUTE format('INSERT INTO history.%I SELECT ($1).*, ''before'', clock_timestamp(), txid_current(), $3
                    UNION ALL SELECT ($2).*, ''after'', clock_timestamp(), txid_current(), $3', TG_TABLE_NAME)
      USING OLD, NEW, actor;
  ELSE
    EXECUTE format('INSERT INTO history.%I SELECT ($1).*, $2, clock_timestamp(), txid_current(), $3', TG_TABLE_NAME)
      USING CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END, lower(TG_OP), actor;
  END IF;
  RETURN NULL;
END
$function$;
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON item FOR EACH ROW EXECUTE FUNCTION history.capture();
