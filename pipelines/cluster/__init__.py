"""Running a study on Kubeflow Pipelines."""
