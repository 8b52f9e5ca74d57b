-- A redaction writes values of the present definition into images of older definitions. If a migration converted such a
-- column in between, the image stores the definition of the new value: {"redacted": {"column": id}}, in the list of the
-- key "". Reading the value then applies only later conversions.

-- Returns the redacted columns of an image by their names in it, each with that definition.
CREATE FUNCTION threadline_internal.redacted_under(image jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce((SELECT e.value -> 'redacted' FROM jsonb_array_elements(image -> '') AS e
                    WHERE jsonb_typeof(e.value) = 'object' LIMIT 1), '{}')
$function$;
COMMENT ON FUNCTION threadline_internal.redacted_under(jsonb) IS
  'The columns of an image that were redacted under a later definition, each with the id of that definition.';

-- Replaces that list in an image.
CREATE FUNCTION threadline_internal.image_redacted_under(image jsonb, redacted jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT (image - '') || CASE WHEN e.list = '[]' THEN '{}' ELSE jsonb_build_object('', e.list) END
    FROM (SELECT coalesce((SELECT jsonb_agg(e.value) FROM jsonb_array_elements(image -> '') AS e
                            WHERE jsonb_typeof(e.value) <> 'object'), '[]')
                 || CASE WHEN redacted = '{}' THEN '[]'
                      ELSE jsonb_build_array(jsonb_build_object('redacted', redacted)) END AS list) AS e
$function$;
COMMENT ON FUNCTION threadline_internal.image_redacted_under(jsonb, jsonb) IS
  'An image with the definitions under which its columns were redacted.';

-- Returns whether reading changes a value that was written under another definition.
CREATE FUNCTION threadline_internal.is_converted(older jsonb, name text) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT coalesce(older -> 'labels' ? name, false) OR coalesce(older -> 'convert' ? name, false)
         OR coalesce(older -> 'gaps' ? name, false)
$function$;
COMMENT ON FUNCTION threadline_internal.is_converted(jsonb, text) IS
  'Whether values of a column of an older definition are converted when they are read.';

-- Returns an image with the present names and values of its columns, given the older_definitions of the table: redacted
-- values have another definition than the rest.
CREATE FUNCTION threadline_internal.present_image(image jsonb, older jsonb, definition_id text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  redacted jsonb := CASE WHEN image ? '' THEN threadline_internal.redacted_under(image) ELSE '{}' END;
  result jsonb;
  part record;
BEGIN
  IF redacted = '{}' THEN
    RETURN threadline_internal.present_image(image, older -> definition_id);
  END IF;
  result := threadline_internal.present_image(threadline_internal.image_redacted_under(image, '{}')
    - ARRAY(SELECT jsonb_object_keys(redacted)), older -> definition_id);
  FOR part IN
    SELECT threadline_internal.present_image(threadline_internal.rename_image(r.image, older -> definition_id),
             (older -> r.id) - 'names') AS image
      FROM (SELECT r.value #>> '{}' AS id, jsonb_object_agg(r.key, image -> r.key) AS image
              FROM jsonb_each(redacted) AS r WHERE image ? r.key GROUP BY 1) AS r LOOP
    result := result || part.image || CASE WHEN result ? '' OR part.image ? ''
      THEN jsonb_build_object('', coalesce(result -> '', '[]') || coalesce(part.image -> '', '[]')) ELSE '{}' END;
  END LOOP;
  RETURN result;
END
$function$;
COMMENT ON FUNCTION threadline_internal.present_image(jsonb, jsonb, text) IS
  'An image as it would be under the present definition of its table, including its redacted values.';
