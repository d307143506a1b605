"""Runs of a study made many at once: on a GPU hundreds of small ones take the time of one.

tasks       what a study wants trained, written once for both ways of making it
many        all tasks of some studies, in ensembles of one shape (`gpt.ensemble`)
cores       the same tasks one by one, on many cores
wanted      which studies can be made so, and what each of them wants next
command     ``python -m experiments.studies.ensembles``, for a machine that has little more than torch
"""
