"""What users get: OCI layouts, signed package repositories, SBOMs, a running image. Made from the CAS alone."""
