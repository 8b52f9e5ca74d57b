SELECT 1 FROM s . -- x
 a, /* y */ b