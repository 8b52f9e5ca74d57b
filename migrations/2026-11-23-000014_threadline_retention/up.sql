-- Retention: how long changes are kept, and which of them whatever happens.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
