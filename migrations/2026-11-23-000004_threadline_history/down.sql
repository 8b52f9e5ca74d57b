DROP FUNCTION threadline.history_functions(threadline.audited_tables);
DROP FUNCTION threadline.key_arguments(threadline.audited_tables, integer);
DROP FUNCTION threadline.live_key(threadline.audited_tables, text[]);
DROP FUNCTION threadline.recorded_key(threadline.audited_tables, text[]);
DROP FUNCTION threadline.recorded_key_columns(threadline.audited_tables);
DROP FUNCTION threadline.type_name(oid, integer);
DROP FUNCTION threadline.record_expression(threadline.audited_tables, text);
DROP FUNCTION threadline.renamed_expression(threadline.audited_tables, text, text);
DROP FUNCTION threadline.primary_key(regclass);
