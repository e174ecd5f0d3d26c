"""Curves of a run in other people's trackers: TensorBoard, MLflow and others.

A process beside the launch reads what trainings write into the folder of the run, and hands it on.
No training knows of it, so none can fail or change by it.
"""
