"""Whole Forebays against a model; FOREBAY_EXAMPLES sets how many histories are tried."""

from forebay.testing.stateful import ForebayMachine, profile


class OverFiles(ForebayMachine):
    def uri(self, directory):
        return (directory / "root").as_uri()


class OverMemory(ForebayMachine):
    def uri(self, directory):
        return "memory://"


class AllInMemory(ForebayMachine):
    catalog_kind = "memory"
    tier_kind = "memory"

    def uri(self, directory):
        return "memory://"


class TestOverFiles(OverFiles.TestCase):
    settings = profile


class TestOverMemory(OverMemory.TestCase):
    settings = profile


class TestAllInMemory(AllInMemory.TestCase):
    settings = profile
