"""`meshflow load` and `meshflow reconcile`: copy source tables into RAW and compare the two."""
