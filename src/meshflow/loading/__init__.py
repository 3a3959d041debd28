"""From the sources into RAW: what `meshflow load` and `meshflow reconcile` do."""
