-- Declares how the last migration of a column that left a gap converted its values: an expression of the old column,
-- such as price / 100.0. It must convert the last recorded values of the rows to their present values.
CREATE FUNCTION threadline.declare_conversion(relation regclass, column_name text, expression text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
  audited threadline.audited_tables;
  conversion threadline.column_conversions;
  comparison record;
BEGIN
  PERFORM threadline_internal.take_lock('definitions');
  SELECT t.* INTO audited FROM threadline_internal.audited_table(declare_conversion.relation) AS t
   WHERE t.capture_ended_at IS NULL;
  SELECT v.* INTO conversion
    FROM threadline.column_conversions AS v
    JOIN threadline_internal.columns_of(relation) AS c
      ON c.number = v.column_number AND c.name = declare_conversion.column_name
   WHERE v.table_id = audited.id ORDER BY v.gap IS NULL, v.definition_id DESC LIMIT 1;
  IF NOT FOUND THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      format('no migration has converted column %I', declare_conversion.column_name),
      'SELECT * FROM threadline.column_conversions; lists the columns that were converted. A refresh finds them.');
  END IF;
  IF NOT conversion.can_be_declared THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      format('changes may have been recorded between the migration of column %I and the refresh',
        declare_conversion.column_name),
      'Which of them the migration has converted is not known. Refresh in the transaction of a migration, before it '
        'writes the table.');
  END IF;
  conversion.expression := declare_conversion.expression;
  PERFORM threadline_internal.define_conversion(conversion);
  UPDATE threadline.column_conversions AS c SET expression = declare_conversion.expression, gap = NULL
   WHERE (c.table_id, c.column_number, c.definition_id)
       = (conversion.table_id, conversion.column_number, conversion.definition_id);
  audited.older_definitions := threadline_internal.older_definitions(audited,
    (threadline_internal.describe_definition(audited)).columns);
  comparison := threadline_internal.compare_conversion(audited, conversion.column_number, 'v.value',
    conversion.definition_id - 1, false);
  IF comparison.differing > 0 THEN
    PERFORM threadline_internal.raise_audit_error(relation,
      format('%s of %s values of column %I are not what %s makes of them', comparison.differing,
             greatest(comparison.compared, comparison.differing),
             declare_conversion.column_name, declare_conversion.expression),
      format('One of them becomes %s.', comparison.example));
  END IF;
  PERFORM threadline_internal.store_audited(audited);
  PERFORM threadline_internal.define_reading_functions(audited);
END
$function$;
COMMENT ON FUNCTION threadline.declare_conversion(regclass, text, text) IS
  'Declares how the last migration of a column converted its values, so that older values are read the same way.';

-- Creates the function of a declared conversion. It takes a JSON value, in the former type of the column if that is a
-- built-in type, otherwise as text. It runs with the rights of the reader.
CREATE FUNCTION threadline_internal.define_conversion(conversion threadline.column_conversions) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
  SELECT threadline_internal.define_reading_function(
    format('threadline_internal.%I(jsonb)', threadline_internal.conversion_function(conversion)),
    format('RETURNS jsonb LANGUAGE sql STABLE %s AS %L',
      threadline_internal.settings_clause(threadline_internal.canonical_settings()),
      threadline_internal.render('SELECT {json} FROM (SELECT ({expression}) AS value
          FROM (SELECT ($1 #>> ARRAY[]::text[])::{old_type} AS {name}) AS v) AS v', jsonb_build_object(
        'json', CASE WHEN threadline_internal.is_built_in(conversion.to_type)
            THEN format('to_jsonb(v.value::%s)', conversion.to_type)
          WHEN right(conversion.to_type, 2) = '[]' THEN 'to_jsonb(v.value::text[])' ELSE 'to_jsonb(v.value::text)' END,
        'expression', conversion.expression, 'name', quote_ident(conversion.column_name),
        'old_type', CASE WHEN threadline_internal.is_built_in(conversion.from_type) THEN conversion.from_type
          ELSE 'text' END))),
    format('What the migration of column %I made of its values.', conversion.column_name))
$function$;
COMMENT ON FUNCTION threadline_internal.define_conversion(threadline.column_conversions) IS
  'Creates the function of a declared conversion.';
