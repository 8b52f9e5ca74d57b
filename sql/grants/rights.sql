REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline, threadline_internal FROM PUBLIC;

SELECT threadline_internal.create_partitions();
