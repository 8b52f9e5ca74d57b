-- What is known of tables that had rows before their capture began.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
