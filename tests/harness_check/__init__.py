"""Is the harness truthful? Tests of the fakes and the clients alone, without the product."""
