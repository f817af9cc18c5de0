"""The table of requests and AWS's answers; ``iam_requests`` explains its columns."""

from typing import Final

from tests.support.iam_requests import OTHER, SUBJECT
from tests.support.templates import ACCOUNT_ID

PHOTOS: Final = "source=arn:aws:s3:::fruits-dev-photos-111122223333"
FLOW: Final = "source=arn:aws:ec2:eu-west-1:111122223333:vpc-flow-log/fl-1"
WEST: Final = "source=arn:aws:ec2:us-east-1:111122223333:vpc-flow-log/fl-1"
# A service account that EMR makes: its name ends with the role's, as a number to the base of 36.
DRIVER: Final = f"subject={SUBJECT}{ACCOUNT_ID}-4bfx821rkad0m92ahx55cy"
TABLE: Final = f"""
# the job: photos in, tables out, logs
job s3:ListBucket                 photos                            allowed
job s3:GetObject                  photos/photos/Apple/1.jpg         allowed
job s3:GetObject                  photos/elsewhere/1.jpg            denied
job s3:GetObjectVersion           photos/photos/Apple/1.jpg         denied
job s3:PutObject                  photos/photos/Apple/1.jpg         denied
job s3:DeleteObject               photos/photos/Apple/1.jpg         denied
job s3:ListBucket                 results                           allowed
job s3:GetBucketLocation          results                           allowed
job s3:GetObject                  results/results/run/a.parquet     allowed
job s3:PutObject                  results/results/run/a.parquet     allowed
job s3:DeleteObject               results/results/run/a.parquet     allowed
job s3:DeleteObjectVersion        results/results/run/a.parquet     denied
job s3:PutObject                  results/elsewhere/a.parquet       denied
job s3:GetObject                  results/submissions/run/pod.yaml  allowed
job s3:PutObject                  results/submissions/run/pod.yaml  denied
job s3:ListBucket                 logs                              allowed
job s3:PutObject                  logs/logs/vc/jobs/1/stderr.gz     allowed
job s3:AbortMultipartUpload       logs/logs/vc/jobs/1/stderr.gz     allowed
job s3:GetObject                  logs/logs/vc/jobs/1/metadata.log  allowed
job s3:DeleteObject               logs/logs/vc/jobs/1/stderr.gz     denied
job s3:PutObject                  logs/elsewhere/stderr.gz          denied
job s3:GetObject                  audit/photos/2026                 denied
job s3:PutBucketPolicy            results                           denied
job s3:GetObject                  arn:aws:s3:::website-111122223333/a denied
job kms:Decrypt                   key via=s3.eu-west-1.amazonaws.com         allowed
job kms:GenerateDataKey           key via=s3.eu-west-1.amazonaws.com         allowed
job kms:Decrypt                   key                                        denied
job kms:Decrypt                   key via=s3.us-east-1.amazonaws.com         denied
job kms:GenerateDataKey           key via=ecr.eu-west-1.amazonaws.com        denied
job kms:Decrypt                   another-key via=s3.eu-west-1.amazonaws.com denied
job logs:CreateLogStream          stream             allowed
job logs:PutLogEvents             stream             allowed
job logs:DescribeLogStreams       group              allowed
job logs:DescribeLogGroups        groups             allowed
job logs:PutLogEvents             stream-elsewhere   denied
job logs:PutLogEvents             flow-stream        denied
job logs:CreateLogGroup           group              denied
job sts:AssumeRole                another-role       denied
job ecr:PutImage                  repository         denied
job emr-containers:StartJobRun    virtual-cluster project=fruits stage=dev as=role denied

# people who submit: what submit.sh does
submitter cloudformation:DescribeStacks stack           allowed
submitter cloudformation:DescribeStacks network-stack   allowed
submitter cloudformation:DescribeStacks stack-elsewhere denied
submitter cloudformation:UpdateStack    stack           denied
submitter emr-containers:ListVirtualClusters    every                                              allowed
submitter emr-containers:DescribeVirtualCluster virtual-cluster project=fruits stage=dev           allowed
submitter emr-containers:DescribeVirtualCluster virtual-cluster                                    denied
submitter emr-containers:DeleteVirtualCluster   virtual-cluster project=fruits stage=dev           denied
submitter emr-containers:StartJobRun virtual-cluster project=fruits stage=dev as=role              allowed
submitter emr-containers:StartJobRun virtual-cluster project=fruits stage=dev as=another-role      denied
submitter emr-containers:StartJobRun virtual-cluster project=fruits stage=dev                      denied
submitter emr-containers:StartJobRun virtual-cluster project=website stage=dev as=role             denied
submitter emr-containers:StartJobRun virtual-cluster as=role                                       denied
submitter emr-containers:ListJobRuns    virtual-cluster project=fruits stage=dev                   allowed
submitter emr-containers:DescribeJobRun run project=fruits stage=dev                               allowed
submitter emr-containers:CancelJobRun   run project=fruits stage=dev                               allowed
submitter emr-containers:CancelJobRun   run project=website stage=dev                              denied
submitter emr-containers:CancelJobRun   run                                                        denied
submitter emr-containers:TagResource    run new-project=fruits new-stage=dev                       allowed
submitter emr-containers:TagResource    run new-project=website new-stage=dev                      denied
submitter emr-containers:TagResource    run                                                        denied
submitter emr-containers:TagResource    virtual-cluster new-project=fruits new-stage=dev           denied
submitter servicequotas:GetServiceQuota             every       allowed
submitter servicequotas:RequestServiceQuotaIncrease every       denied
submitter ecr:DescribeImages  repository                        allowed
submitter ecr:BatchGetImage   repository                        allowed
submitter ecr:GetDownloadUrlForLayer repository                 allowed
submitter ecr:PutImage        repository                        denied
submitter s3:ListBucket       photos                            allowed
submitter s3:GetObject        photos/photos/Apple/1.jpg         denied
submitter s3:PutObject        photos/photos/Apple/1.jpg         denied
submitter s3:ListBucket       results                           allowed
submitter s3:GetBucketLocation results                          allowed
submitter s3:GetObject        results/results/runs/1.json       allowed
submitter s3:GetObject        results/results/fruits/report.html allowed
submitter s3:PutObject        results/results/runs/1.json       denied
submitter s3:DeleteObject     results/results/runs/1.json       denied
submitter s3:PutObject        results/submissions/run/pod.yaml  allowed
submitter s3:ListBucket       logs                              allowed
submitter s3:GetObject        logs/logs/vc/jobs/1/stderr.gz     allowed
submitter s3:PutObject        logs/logs/vc/jobs/1/stderr.gz     denied
submitter s3:GetObject        audit/photos/2026                 denied
submitter kms:DescribeKey     key                                        allowed
submitter kms:Decrypt         key via=s3.eu-west-1.amazonaws.com         allowed
submitter kms:GenerateDataKey key via=s3.eu-west-1.amazonaws.com         allowed
submitter kms:Decrypt         key                                        denied
submitter kms:Decrypt         another-key via=s3.eu-west-1.amazonaws.com denied
submitter logs:DescribeLogGroups  groups           allowed
submitter logs:DescribeLogStreams group            allowed
submitter logs:FilterLogEvents    group            allowed
submitter logs:GetLogEvents       stream           allowed
submitter logs:GetLogEvents       stream-elsewhere denied
submitter logs:PutLogEvents       stream           denied
submitter iam:PassRole            another-role     denied
submitter sts:AssumeRole          role             forbidden

# others, and an administrator, whom only policies on things hold back
stranger  s3:GetObject       photos/photos/Apple/1.jpg denied
stranger  kms:Decrypt        key via=s3.eu-west-1.amazonaws.com denied
outsider  s3:GetObject       photos/photos/Apple/1.jpg denied
outsider  kms:Decrypt        key via=s3.eu-west-1.amazonaws.com denied
anybody   s3:GetObject       photos/photos/Apple/1.jpg denied
anybody   s3:PutObject       audit/photos/2026 source-account=111122223333 {PHOTOS}  denied
admin     sts:AssumeRole     role                      forbidden
admin     kms:DescribeKey    key                       allowed
admin     kms:CreateGrant    key                       allowed
admin     s3:PutObject       audit/photos/2026         allowed
access-logs s3:PutObject     audit/photos/2026 source-account=111122223333 {PHOTOS}  allowed
access-logs s3:PutObject     audit/photos/2026 source-account={OTHER} {PHOTOS} denied
access-logs s3:PutObject     audit/photos/2026 source-account=111122223333 source=arn:aws:s3:::website denied
access-logs s3:GetObject     audit/photos/2026 source-account=111122223333 {PHOTOS}  denied
access-logs s3:PutObject     photos/photos/a   source-account=111122223333 {PHOTOS}  denied
cloudwatch kms:Encrypt                           key for-group=group            allowed
cloudwatch kms:Decrypt                           key for-group=group            allowed
cloudwatch kms:ReEncryptFrom                     key for-group=group            allowed
cloudwatch kms:ReEncryptTo                       key for-group=group            allowed
cloudwatch kms:GenerateDataKey                   key for-group=group            allowed
cloudwatch kms:GenerateDataKeyWithoutPlaintext   key for-group=group            allowed
cloudwatch kms:DescribeKey                       key for-group=group            allowed
cloudwatch kms:Decrypt                           key for-group=stream-elsewhere denied
cluster-role kms:Encrypt                          key allowed
cluster-role kms:Decrypt                          key allowed
cluster-role kms:ReEncryptFrom                    key allowed
cluster-role kms:ReEncryptTo                      key allowed
cluster-role kms:GenerateDataKey                  key allowed
cluster-role kms:GenerateDataKeyWithoutPlaintext  key allowed
cluster-role kms:DescribeKey                      key allowed
spot kms:Encrypt                          key allowed
spot kms:Decrypt                          key allowed
spot kms:ReEncryptFrom                    key allowed
spot kms:ReEncryptTo                      key allowed
spot kms:GenerateDataKey                  key allowed
spot kms:GenerateDataKeyWithoutPlaintext  key allowed
spot kms:DescribeKey                      key allowed
cluster-role kms:CreateGrant  key for-aws=true allowed
cluster-role kms:ListGrants   key for-aws=true allowed
cluster-role kms:RevokeGrant  key for-aws=true allowed
spot kms:CreateGrant  key for-aws=true allowed
spot kms:ListGrants   key for-aws=true allowed
spot kms:RevokeGrant  key for-aws=true allowed
fleet kms:Decrypt     key              allowed
fleet kms:CreateGrant key for-aws=true allowed
cluster-role kms:CreateGrant key               denied
cluster-role kms:CreateGrant key for-aws=false denied
cluster-role kms:ScheduleKeyDeletion key       denied
stranger  kms:CreateGrant    key for-aws=true  denied
outsider  kms:CreateGrant    key for-aws=true  denied
ec2       sts:AssumeRole     node-role         allowed
admin     sts:AssumeRole     node-role         denied

# the network: what leaves it, with whosever credentials
pod sts:AssumeRoleWithWebIdentity  role         {DRIVER}                                  allowed
pod sts:AssumeRoleWithWebIdentity  role         subject={SUBJECT}{ACCOUNT_ID}-5qaq7ogbazp denied
pod sts:AssumeRoleWithWebIdentity  role                                                   denied
pod sts:AssumeRoleWithWebIdentity  another-role {DRIVER}                                  denied
pod sts:AssumeRole                 role         {DRIVER}                                  forbidden
anybody-in-pod sts:AssumeRoleWithWebIdentity role {DRIVER}                                denied
admin-in-pod    s3:PutObject   photos/photos/a owner={OTHER}                              denied
outsider-in-pod s3:PutObject   photos/photos/a                                            denied
outsider-in-pod s3:PutObject   arn:aws:s3:::loot/photos.zip                               denied
admin-in-pod    s3:PutObject   arn:aws:s3:::loot/photos.zip                               denied
admin-in-pod    s3:ListBucket  arn:aws:s3:::fruits-prod-photos-111122223333               denied
admin-in-pod    s3:DeleteObjectVersion photos/photos/a                                    denied
admin-in-pod    s3:PutBucketPolicy     photos                                             denied
outsider-in-pod s3:GetObject   arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/layer    allowed
outsider-in-pod s3:PutObject   arn:aws:s3:::prod-eu-west-1-starport-layer-bucket/layer    denied
outsider-in-pod s3:PutObject   arn:aws:s3:::prod.eu-west-1.appinfo.src/1/vc/eventlog      allowed
outsider-in-pod s3:GetObject   arn:aws:s3:::prod.eu-west-1.appinfo.src/1/vc/eventlog      denied
outsider-in-pod s3:PutObject   arn:aws:s3:::prod.us-east-1.appinfo.src/1/vc/eventlog      denied
node ecr:GetAuthorizationToken       every                allowed
node ecr:BatchCheckLayerAvailability repository           allowed
node ecr:GetDownloadUrlForLayer      repository           allowed
node ecr:BatchGetImage               repository           allowed
node ecr:PutImage                    repository           denied
node ec2:DescribeInstances           every                allowed
outsider-in-pod ec2:DescribeInstances every owner={OTHER} denied
node eks:DescribeCluster             cluster              allowed
node eks:DescribeCluster             cluster-elsewhere    denied
outsider-in-pod eks:DescribeCluster  cluster              denied
job  sts:GetCallerIdentity           every                allowed
node sts:AssumeRole                  another-role         denied
outsider-in-pod logs:PutLogEvents    arn:aws:logs:eu-west-1:{OTHER}:log-group:loot:log-stream:1 denied
outsider-in-pod logs:PutLogEvents    stream               denied
outsider-in-pod logs:DescribeLogGroups arn:aws:logs:eu-west-1:{OTHER}:log-group::log-stream: denied
flow-log logs:CreateLogStream        flow-stream          allowed
flow-log logs:PutLogEvents           flow-stream          allowed
flow-log logs:DescribeLogStreams     flow-group           allowed
flow-log logs:DescribeLogGroups      groups               allowed
flow-log logs:PutLogEvents           stream               denied
flow-log-service sts:AssumeRole      flow-role source-account=111122223333 {FLOW}    allowed
flow-log-service sts:AssumeRole      flow-role source-account={OTHER} {FLOW}         denied
flow-log-service sts:AssumeRole      flow-role source-account=111122223333 {WEST}    denied
admin            sts:AssumeRole      flow-role                                       denied
"""
