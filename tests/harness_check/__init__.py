"""Tests of the harness itself: the fakes and the clients, without the product."""
