"""Attestation: TDREPORT and quote codecs, verification, appraisal."""
