"""From the applications into RAW: what `meshflow land` and `meshflow reconcile` do."""
