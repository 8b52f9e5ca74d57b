-- Takes the record with it: export first what must be kept.
-- CASCADE also drops the capture triggers, which stand on the audited tables and call functions of this schema.
DROP SCHEMA threadline CASCADE;
