//! Makes model files: conversion to GGUF, quantization.

pub mod quantize;
