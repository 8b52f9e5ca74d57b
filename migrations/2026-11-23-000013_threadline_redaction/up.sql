-- Redaction after the fact: values that must no longer be in the record.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA threadline FROM PUBLIC;
