SELECT threadline_internal.create_partitions();

SELECT threadline_internal.restore_rights();
