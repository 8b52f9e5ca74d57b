-- SQL is written as templates that read like what they become: every {name} stands for a value. One pass: what a value
-- holds is not looked at again. Braces around anything but a name stay as they are.
CREATE FUNCTION threadline_internal.render(template text, names jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
  rendered text;
  unknown text;
BEGIN
  SELECT string_agg(concat(p.literal, names ->> m.match[1]), '' ORDER BY p.number),
         min(m.match[1]) FILTER (WHERE NOT names ? m.match[1])
    INTO rendered, unknown
    FROM regexp_split_to_table(template, '\{[a-z_]+\}') WITH ORDINALITY AS p (literal, number)
    LEFT JOIN regexp_matches(template, '\{([a-z_]+)\}', 'g') WITH ORDINALITY AS m (match, number) USING (number);
  IF unknown IS NOT NULL THEN
    RAISE EXCEPTION 'a template names {%}, which is not given', unknown USING ERRCODE = 'invalid_parameter_value';
  END IF;
  RETURN rendered;
END
$function$;
COMMENT ON FUNCTION threadline_internal.render(text, jsonb) IS
  'A template with a value in place of each {name}; raises an error for a name that is not given.';
