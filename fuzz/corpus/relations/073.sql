SELECT E'a'
-- note
'\' ' || max(item) FROM orders --'
