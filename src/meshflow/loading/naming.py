"""Names in RAW, as dlt writes them: those of the source in lower case."""

from dlt.common.normalizers.naming.direct import NamingConvention as DirectNamingConvention


class NamingConvention(DirectNamingConvention):
    """dlt's own conventions without case also remove underscores, so that a__b and name_ would be other columns."""

    def normalize_identifier(self, identifier: str) -> str:
        return super().normalize_identifier(identifier).lower()

    @property
    def is_case_sensitive(self) -> bool:
        return False
