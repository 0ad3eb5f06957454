"""What `make chart` judges the chart with."""
