#!/bin/sh
# deploy.sh ROLE_ARN: {{ ref }} as the SageMaker endpoint {{ dns }}; one that is there moves to this version.
# Needs the AWS command line, logged in, and a role that SageMaker may take. Made by mlship.
set -eu
role=${1:?usage: sh deploy.sh arn:aws:iam::ACCOUNT:role/NAME}
cd "$(dirname "$0")"
aws sagemaker create-model --cli-input-json file://model.json --execution-role-arn "$role"
aws sagemaker create-endpoint-config --cli-input-json file://endpoint-config.json
if aws sagemaker describe-endpoint --endpoint-name {{ dns }} >/dev/null 2>&1; then
  aws sagemaker update-endpoint --cli-input-json file://endpoint.json
else
  aws sagemaker create-endpoint --cli-input-json file://endpoint.json
fi
aws sagemaker wait endpoint-in-service --endpoint-name {{ dns }}
